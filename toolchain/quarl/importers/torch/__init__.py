"""What torch files hold: tensors by name, read without torch, and the layers made of them."""
