"""What a network is, whoever trains it: load and save, tensors inside it, how tensors flow between modules, likelihoods."""
