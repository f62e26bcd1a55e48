"""The portrait: the value every stage takes and returns, and how a point of it is read."""
