// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace check {

// A process whose standard input and output are pipes to this one. Spawned, not forked: it starts
// as any other user of the library does. Killed if it is still there at the end.
class process {
public:
    process(const std::string& program, const std::vector<std::string>& arguments) {
        pipe_ends input = make_pipe();
        pipe_ends output = make_pipe();
        posix_spawn_file_actions_t actions;
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_adddup2(&actions, input.read, 0);
        posix_spawn_file_actions_adddup2(&actions, output.write, 1);
        std::vector<char*> argv{const_cast<char*>(program.c_str())};
        for (const auto& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
        argv.push_back(nullptr);
        const int code = ::posix_spawn(&id_, program.c_str(), &actions, nullptr, argv.data(), environ);
        posix_spawn_file_actions_destroy(&actions);
        ::close(input.read);
        ::close(output.write);
        to_ = input.write;
        from_ = output.read;
        if (code != 0) {
            id_ = -1;
            close_pipes();
            throw std::system_error(code, std::generic_category(), program);
        }
    }
    process(const process&) = delete;
    process& operator=(const process&) = delete;
    // The pipes close last: at the end of its input a process would go by itself, and tidily.
    ~process() {
        if (id_ >= 0) end();
        close_pipes();
    }

    // SIGKILL, reaped. It must have been alive.
    void kill() {
        const int status = end();
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
            throw std::runtime_error("a process to be killed ended before, with status " + std::to_string(status));
        }
    }

    // The next line of its output, without the newline.
    std::string read_line() {
        std::size_t end;
        while ((end = unread_.find('\n')) == std::string::npos) {
            if (!read_more()) throw std::runtime_error("a process ended instead of writing a line");
        }
        std::string line = unread_.substr(0, end);
        unread_.erase(0, end + 1);
        return line;
    }

    void write_line(std::string line) {
        line += '\n';
        if (::write(to_, line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
            throw std::system_error(errno, std::generic_category(), "writing to a process");
        }
    }

    // The rest of its output, once it has ended by itself with status 0.
    std::string finish() {
        while (read_more()) {
        }
        int status = 0;
        ::waitpid(std::exchange(id_, -1), &status, 0);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
            throw std::runtime_error("a process ended with status " + std::to_string(status));
        }
        return std::exchange(unread_, {});
    }

private:
    struct pipe_ends {
        int read;
        int write;
    };

    static pipe_ends make_pipe() {
        int ends[2];
        if (::pipe2(ends, O_CLOEXEC) != 0) {
            throw std::system_error(errno, std::generic_category(), "pipe");
        }
        return {ends[0], ends[1]};
    }

    int end() {
        int status = 0;
        ::kill(id_, SIGKILL);
        ::waitpid(std::exchange(id_, -1), &status, 0);
        return status;
    }

    void close_pipes() {
        ::close(to_);
        ::close(from_);
    }

    // False at the end of its output.
    bool read_more() {
        constexpr int patience_ms = 30'000;
        pollfd readable{from_, POLLIN, 0};
        if (::poll(&readable, 1, patience_ms) != 1) throw std::runtime_error("a process hangs");
        char buffer[4096];
        const ssize_t size = ::read(from_, buffer, sizeof buffer);
        if (size < 0) throw std::system_error(errno, std::generic_category(), "reading");
        unread_.append(buffer, static_cast<std::size_t>(size));
        return size > 0;
    }

    pid_t id_ = -1;
    int to_ = -1;
    int from_ = -1;
    std::string unread_;
};

// This executable again, in one of its roles.
inline std::vector<std::string> in_role(const std::string& name, std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"--role", name});
    return arguments;
}
constexpr const char* this_executable = "/proc/self/exe";

}  // namespace check
