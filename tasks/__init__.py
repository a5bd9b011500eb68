"""What must be done: data, networks, loss and metric, one file a task."""
