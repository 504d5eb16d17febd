"""One run of training: laid out beforehand, logged step by step, and taken up again anywhere."""
