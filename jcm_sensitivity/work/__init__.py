"""What the commands of `jcm-sensitivity` do once their arguments are checked; a file each."""
