"""The state that the watches have shown, the reserved and bound slots, and the waiting pods."""
