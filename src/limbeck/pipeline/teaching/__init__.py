"""What models write for a training: the teacher's answers as rows, or the student's own."""
