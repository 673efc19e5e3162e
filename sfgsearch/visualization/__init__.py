"""Pictures of what was learned and of whole studies."""
