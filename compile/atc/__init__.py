"""ATC, the offline compiler of Ascend chips: its options, its rules, its messages."""
