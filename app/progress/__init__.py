"""Progress of operations in Redis: streams to replay from, channels to follow."""
