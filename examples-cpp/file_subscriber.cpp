// SPDX-License-Identifier: MIT OR Apache-2.0
// Receives a file: writes each piece from shared memory. Usage: file_subscriber number topic output

#include "example.hpp"

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <fstream>

namespace {

// What stands before the bytes of each piece.
struct Piece {
    std::uint64_t index;
    std::uint64_t count;
};

// A subscriber's word: it has all pieces before `next`.
struct Progress {
    std::uint64_t subscriber;
    std::uint64_t next;
};

// Writes the bytes of the piece, which is to be number `next`; returns how many pieces there are.
std::uint64_t write_piece(const shm::sample& sample, std::uint64_t next, std::ostream& output) {
    Piece piece;
    if (sample.size() < sizeof piece) throw std::runtime_error("a message is too short for a piece");
    std::memcpy(&piece, sample.data(), sizeof piece);
    if (piece.index != next) throw std::runtime_error("a piece is missing");
    output.write(static_cast<const char*>(sample.data()) + sizeof piece,
                 static_cast<std::streamsize>(sample.size() - sizeof piece));
    return piece.count;
}

}  // namespace

int main(int argc, char** argv) try {
    if (argc != 4) throw std::invalid_argument("usage: file_subscriber number topic output");
    const std::string topic = argv[2];
    std::ofstream output;
    output.exceptions(std::ios::failbit | std::ios::badbit);
    output.open(argv[3], std::ios::binary);
    shm::subscriber subscriber(topic);
    shm::publisher acks(topic + ".ack");
    Progress progress{std::stoull(argv[1]), 0};
    acks.publish(&progress, sizeof progress).value();

    std::uint64_t count = 0;
    do {
        const shm::sample sample = subscriber.receive_for(example::patience).value();
        count = write_piece(sample, progress.next, output);
        ++progress.next;
        acks.publish(&progress, sizeof progress).value();
    } while (progress.next < count);
    output.close();
} catch (const std::exception& e) {
    std::fprintf(stderr, "file_subscriber: %s\n", e.what());
    return 1;
}
