"""The component's unit tests."""
