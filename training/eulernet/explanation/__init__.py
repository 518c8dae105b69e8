"""Pictures of what the network attends to in a clip, and of how its filters answer to motion."""
