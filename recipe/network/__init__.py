"""Networks: made, headed, loaded with weights, frozen, compiled."""
