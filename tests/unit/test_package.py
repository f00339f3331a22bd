from importlib.metadata import version

import sojourn


def test_the_version_is_the_one_of_the_installed_package() -> None:
    assert sojourn.__version__ == version("sojourn")
