"""What is decided: life, journal, ids, errors, policy. No I/O, no clock, no logging; time is an argument."""
