"""SmolVLM2: how frames and questions become answers and words."""
