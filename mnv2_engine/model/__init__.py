"""The model file: container, description, packed weights, labels, input specification."""
