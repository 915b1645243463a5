"""When is it an alert? Pure functions and state machines."""
