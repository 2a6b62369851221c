"""The commands of `jcm-calibrate`, a file each."""
