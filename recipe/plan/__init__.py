"""From what was typed to a checked plan: composed, scaled, checked, named. No torch, no data, no devices."""
