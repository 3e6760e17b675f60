"""What of the log is given into others' keeping: to buckets, to the fleet's log, to witnesses."""
