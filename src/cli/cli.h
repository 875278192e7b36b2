#pragma once
namespace shardwise {
/// The whole command line. Exit codes: docs/exit_codes.md.
int run_cli(int argc, char** argv);
}  // namespace shardwise
