"""The machine and its processes:
cores, memory, signals, and which of several processes this one is."""
