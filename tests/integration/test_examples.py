"""What a user of the C library starts from: the examples, the README's program as it is printed, and the installed packages."""

import os
import re
import shutil
import subprocess

import harness

EXAMPLES = os.path.join(harness.BUILD, "client", "examples")
README = os.path.join(harness.ROOT, "README.md")
CMAKE = os.environ.get("CMAKE_COMMAND", "cmake")
COMPILER = os.environ.get("CC", "cc")


def run(*command, **more):
    done = subprocess.run(command, capture_output=True, text=True, timeout=harness.TIMEOUT_S * 2, stdin=subprocess.DEVNULL, **more)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


class Examples(harness.Case):
    """They use the default address and the default token."""

    def run_example(self, name):
        return run(os.path.join(EXAMPLES, f"example_{name}"), env=self.daemon.env)

    def test_query(self):
        self.assertRegex(self.run_example("query"), r"(?s)What is a TTL\?.*\(llm\)\n$")
        self.assertRegex(self.run_example("query"), r"(?s)What is a TTL\?.*\(exact\)\n$")

    def test_stream(self):
        first = self.run_example("stream")
        self.assertIn("rivers", first)
        self.assertEqual(self.run_example("stream"), first)

    def test_lookup_put(self):
        self.assertRegex(self.run_example("lookup_put"), r"\(called\)\n$")
        self.assertRegex(self.run_example("lookup_put"), r"\(exact\)\n$")

    def test_async_uv(self):
        out = self.run_example("async_uv")
        for question in ("What is a TTL?", "What is a cache?", "What is a token?"):
            self.assertIn(f"{question}: Answer", out)

    def test_examples_without_a_server_end_with_an_error(self):
        for name in ("query", "stream", "async_uv"):
            done = subprocess.run([os.path.join(EXAMPLES, f"example_{name}")], env=self.daemon.env | {"XDG_RUNTIME_DIR": self.daemon.state},
                                  capture_output=True, timeout=harness.TIMEOUT_S)
            self.assertEqual(done.returncode, 1, name)
            self.assertTrue(done.stdout + done.stderr, name)


@harness.unittest.skipUnless(os.path.exists(README), "README.md is not written yet")
class Installed(harness.Case):
    """The package in a prefix of its own, as a program outside of the project sees it."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.prefix = os.path.join(cls.home, "prefix")
        run(CMAKE, "--install", harness.BUILD, "--prefix", cls.prefix)
        cls.lib = os.path.dirname(cls.find("promptcache.pc")[:-len("/promptcache.pc")])
        blocks = re.findall(r"(?ms)^```c\n(.*?)^```", harness.read_text(README))
        cls.program = next(block for block in blocks if "int main" in block and "pc_query" in block)
        cls.source = os.path.join(cls.home, "ten.c")
        with open(cls.source, "w", encoding="utf-8") as f:
            f.write(cls.program)

    @classmethod
    def find(cls, name):
        for folder, _, files in os.walk(cls.prefix):
            if name in files:
                return os.path.join(folder, name)
        raise AssertionError(f"{name} was not installed")

    @property
    def packages(self):
        return os.environ | {"PKG_CONFIG_PATH": os.path.join(self.lib, "pkgconfig")}

    def answers(self, program, model="gpt-4o"):
        """It asks, and asks again."""
        client = self.connect()
        self.end(client.call("INVALIDATE", prompt="What is a TTL?", model=model))
        env = self.daemon.env | {"LD_LIBRARY_PATH": self.lib}
        self.assertRegex(run(program, env=env), r"(?s)^Answer to \"What is a TTL\?\".* \(llm\)\n$")
        self.assertRegex(run(program, env=env), r"(?s)^Answer to \"What is a TTL\?\".* \(exact\)\n$")

    def test_the_readmes_program_compiles_and_runs_by_pkg_config(self):
        flags = run("pkg-config", "--cflags", "--libs", "promptcache", env=self.packages).split()
        program = os.path.join(self.home, "ten")
        run(COMPILER, "-std=c11", "-Wall", "-Wextra", "-Werror", "-o", program, self.source, *flags)
        self.answers(program)

    def test_the_readmes_program_is_the_example(self):
        example = harness.read_text(os.path.join(harness.ROOT, "client", "examples", "query.c"))
        body = re.search(r"(?s)clang-format off \*/\n(.*?)\t/\* clang-format on", example)[1]
        self.assertIn(body, self.program)

    def test_the_readmes_program_links_statically(self):
        flags = run("pkg-config", "--static", "--cflags", "--libs", "promptcache", env=self.packages).split()
        archive = self.find("libpromptcache.a")
        program = os.path.join(self.home, "ten-static")
        flags = [archive if flag == "-lpromptcache" else flag for flag in flags]
        run(COMPILER, "-std=c11", "-o", program, self.source, *flags)
        self.assertNotIn("libpromptcache", run("ldd", program))
        self.answers(program)

    def test_the_readmes_program_compiles_and_runs_by_the_cmake_package(self):
        folder = os.path.join(self.home, "project")
        os.makedirs(folder)
        shutil.copy(self.source, os.path.join(folder, "ten.c"))
        with open(os.path.join(folder, "CMakeLists.txt"), "w", encoding="ascii") as f:
            f.write("cmake_minimum_required(VERSION 3.25)\nproject(ten C)\nfind_package(promptcache 0.1 REQUIRED)\n"
                    "foreach(kind promptcache promptcache_static)\n  add_executable(ten_${kind} ten.c)\n"
                    "  target_link_libraries(ten_${kind} PRIVATE promptcache::${kind})\nendforeach()\n")
        build = os.path.join(folder, "build")
        run(CMAKE, "-S", folder, "-B", build, f"-DCMAKE_PREFIX_PATH={self.prefix}", f"-DCMAKE_C_COMPILER={COMPILER}")
        run(CMAKE, "--build", build)
        for kind in ("promptcache", "promptcache_static"):
            self.answers(os.path.join(build, f"ten_{kind}"))

    def test_the_headers_compile_alone_as_c_and_cxx(self):
        flags = run("pkg-config", "--cflags", "promptcache", "promptcache-uv", env=self.packages).split()
        for header in ("promptcache.h", "promptcache-uv.h"):
            path = os.path.join(self.home, "header.c")
            with open(path, "w", encoding="ascii") as f:
                f.write(f"#include <{header}>\n")
            run(COMPILER, "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", path, *flags)
            if shutil.which("c++"):
                run("c++", "-x", "c++", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", path, *flags)

    def test_nothing_but_the_prefix_pc_is_exported(self):
        for line in run("nm", "-D", "--defined-only", self.find("libpromptcache.so")).splitlines():
            self.assertRegex(line.split()[-1], r"^(pc_|_init$|_fini$|_edata$|_end$|__bss_start$)")

    def test_programs_are_installed(self):
        for name in ("promptcached", "promptcache"):
            self.assertTrue(os.access(self.find(name), os.X_OK))


if __name__ == "__main__":
    harness.main()
