# Homebrew formula. A text that is checked for its syntax; `url` and `sha256` are those of a release, which does not exist yet.
class Ggend < Formula
  desc "Gateway daemon for Model Context Protocol servers"
  homepage "https://ggend.invalid/"
  url "https://ggend.invalid/ggend-0.1.0.tar.gz"
  sha256 "0000000000000000000000000000000000000000000000000000000000000000"
  license any_of: ["Apache-2.0", "MIT"]

  depends_on "rust" => :build

  def install
    system "cargo", "install", "--features", "otlp", *std_cargo_args(path: "daemon")
    system "cargo", "install", *std_cargo_args(path: "ctl")
    man1.install Dir["packaging/man/*.1"]
    man8.install Dir["packaging/man/*.8"]
    bash_completion.install "packaging/completions/ggen.bash" => "ggen"
    zsh_completion.install "packaging/completions/_ggen"
    fish_completion.install "packaging/completions/ggen.fish"
    (etc/"ggen").install "packaging/mcp.json" unless (etc/"ggen/mcp.json").exist?
  end

  service do
    run [opt_bin/"ggend", "--config", etc/"ggen/mcp.json"]
    keep_alive successful_exit: false
    working_dir var
    log_path var/"log/ggend.log"
    error_log_path var/"log/ggend.log"
  end

  test do
    (testpath/"mcp.json").write '{"mcpServers": {}}'
    system bin/"ggend", "check", testpath/"mcp.json"
  end
end
