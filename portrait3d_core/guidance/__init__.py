"""Critics, distillation losses, schedules and prompts."""
