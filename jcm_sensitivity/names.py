"""Names and numbers that help texts quote; no import here, so that help comes at once."""

#: Names in `jcm_sensitivity.certificate.default_targets`.
DEFAULT_TARGETS = (
    "tropical_pacific_rain", "toa_net_flux", "global_mean_temperature", "jet_latitude",
    "itcz_latitude", "lower_tropical_humidity")  # fmt: skip
#: Names in `jcm_sensitivity.indices.INDICES`.
INDEX_NAMES = (
    "itcz_latitude", "jet_latitude", "jet_speed", "global_mean_precipitation", "toa_net_flux",
    "nino34_index", "global_mean_temperature", "land_sea_contrast",
    "meridional_temperature_gradient")  # fmt: skip
#: Difference between gradient and finite response that still counts as agreement. A sign and a
#: size within a quarter are what a map is read for; 0.2 to 0.3 are usual. Chosen here.
TOLERANCE = 0.25
