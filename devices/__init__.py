"""What hardware does to a weight: one file a device, or one family that shares a formula."""
