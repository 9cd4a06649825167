"""What every room stands on, and which imports no other room: components by name, the store, grids of numbers, schedules, events."""
