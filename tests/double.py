"""stable-baselines3 in double precision, where Adam's first step does not amplify rounding."""

from stable_baselines3.common.torch_layers import FlattenExtractor


class DoubleFeatures(FlattenExtractor):
    """Its preprocessing casts observations to float; its networks are to compute in double."""

    def forward(self, observations):
        return super().forward(observations).double()
