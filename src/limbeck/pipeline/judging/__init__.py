"""What the verdict is about: which test rows (`judged_rows`), and which of them the student lost
(`lost`)."""
