"""Tools that a model calls: the check of calls, simulated conversations, real tools, a protocol by text."""
