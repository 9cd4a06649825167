"""What is asked of a server: bounded, read and refused."""
