"""pip's configuration becomes uv's."""

from tools.uv import pip_options, uv_environment


class TestPipOptions:
    def test_environment_wins_when_a_file_says_otherwise(self):
        listing = "global.index-url='https://mirror.test/simple'\n:env:.index-url='https://other.test/simple'\n"
        assert pip_options(listing) == {"index-url": "https://other.test/simple"}

    def test_section_of_another_command_is_left_out(self):
        assert pip_options("install.user='true'\nglobal.timeout='9'\n:env:.default-timeout='8'\n") == {"timeout": "8"}

    def test_nothing_is_found_when_pip_is_not_configured(self):
        assert pip_options("") == {}


class TestUvEnvironment:
    def test_mirror_is_passed_on_when_only_pip_knows_it(self):
        added = uv_environment({"index-url": "https://mirror.test/simple", "cert": "/ca.pem"}, {})
        assert added["UV_DEFAULT_INDEX"] == "https://mirror.test/simple"
        assert added["SSL_CERT_FILE"] == "/ca.pem"

    def test_several_values_are_joined_as_uv_splits_them(self):
        added = uv_environment({"extra-index-url": "https://a.test\nhttps://b.test", "find-links": "/a /b"}, {})
        assert added["UV_INDEX"] == "https://a.test https://b.test"
        assert added["UV_FIND_LINKS"] == "/a,/b"

    def test_own_setting_of_uv_stays_when_pip_says_otherwise(self):
        added = uv_environment({"index-url": "https://mirror.test"}, {"UV_DEFAULT_INDEX": "https://mine.test"})
        assert "UV_DEFAULT_INDEX" not in added
