"""Label Studio as the place where people label."""
