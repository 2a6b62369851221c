"""What the commands of `jcm-calibrate` do once their arguments are checked; a file each."""
