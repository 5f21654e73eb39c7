// SPDX-License-Identifier: MIT OR Apache-2.0
// What Shadesmar's README and examples show of RPC, as a program: built once with its include lines and
// once with those of this library, and nothing else changed.

#ifdef SHADESMAR_NAMES
#include <shadesmar/rpc/client.h>
#include <shadesmar/rpc/server.h>
#else
#include <shm/client.hpp>
#include <shm/server.hpp>
#endif

#include <iostream>
#include <map>
#include <string>
#include <thread>

namespace {

// Between a server that is there and a client that begins, the test passes on these lines.
void say_ready() { std::cout << "ready" << std::endl; }

int add(int a, int b) {
  return a + b;
}

float fmadd(float a, float b, float c) { return a * b + c; }

void server() {
  shm::rpc::Function<int(int, int)> rpc_fn("add_fn", add);
  say_ready();
  for (int i = 0; i < 2; ++i) {
    rpc_fn.serve_once();
    rpc_fn.serveOnce();
  }
}

void serving_server() {
  shm::rpc::Function<float(float, float, float)> fmadd_rpc("fmadd", fmadd);
  say_ready();
  std::string line;
  std::thread stopping([&] {
    std::getline(std::cin, line);
    fmadd_rpc.stop();
  });
  fmadd_rpc.serve();
  stopping.join();
}

void client() {
  shm::rpc::FunctionCaller rpc_fn("add_fn");

  std::cout << rpc_fn(4, 5).as<int>() << std::endl;
  for (int i = 0; i < 3; ++i) {
    auto sum = rpc_fn(i, i + 1);
    std::cout << sum.as<int>() << std::endl;
  }
}

void fmadd_client() {
  shm::rpc::FunctionCaller fmadd_fn("fmadd");

  float a = 1.5f;
  float b = -2;
  float c = 0.25f;

  std::cout << fmadd_fn(a, b, c).as<float>() << std::endl;
}

}  // namespace

int main(int argc, char **argv) {
  const std::map<std::string, void (*)()> parts = {
      {"server", server},
      {"serving_server", serving_server},
      {"client", client},
      {"fmadd_client", fmadd_client},
  };
  parts.at(argc > 1 ? argv[1] : "")();
}
