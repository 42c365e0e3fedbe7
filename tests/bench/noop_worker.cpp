// A worker that does nothing, as cheaply as can be, so that what is measured around it is the cost
// of whoever starts it. Asked over the protocol (docs/PROTOCOL.md) it answers one request; with an
// argument, for programs that know no protocol, it prints the same result for that name. With
// NOOP_WORKER_SECONDS in its environment it sleeps as long over a request.

#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdlib>
#include <string_view>

namespace {

void say(std::string_view bytes) {
    [[maybe_unused]] const auto written = ::write(STDOUT_FILENO, bytes.data(), bytes.size());
}

void say_result(std::string_view nonce) {
    std::array<char, 256> line;
    std::size_t size = 0;
    for (const std::string_view part :
         {std::string_view(R"({"event":"result","nonce":")"), nonce,
          std::string_view(R"(","status":"ok","measurement":{"samples_ms":[1.5]}})"
                           "\n")})
        size += part.copy(line.data() + size, line.size() - size);
    say({line.data(), size});
}

}  // namespace

int main(int count, char** arguments) {
    // Under isosweep it has the arguments of a worker (`--serve`).
    if (count > 1 && arguments[1] != std::string_view("--serve")) {
        say_result(arguments[1]);
        return 0;
    }
    say("{\"event\":\"hello\",\"protocol\":1,\"pid\":1,\"torch\":\"\",\"build\":\"noop\"}\n");
    std::array<char, 16384> request;
    std::size_t size = 0;
    while (std::string_view(request.data(), size).find('\n') == std::string_view::npos) {
        const auto got = ::read(STDIN_FILENO, request.data() + size, request.size() - size);
        if (got <= 0) return 0;  // a worker that stands by and is not needed
        size += static_cast<std::size_t>(got);
    }
    if (const char* const seconds = std::getenv("NOOP_WORKER_SECONDS"))
        ::sleep(static_cast<unsigned>(std::strtoul(seconds, nullptr, 10)));
    constexpr std::string_view mark = R"("nonce":")";
    const std::string_view line(request.data(), size);
    const auto at = line.find(mark);
    if (at == std::string_view::npos) return 2;
    const auto begin = at + mark.size();
    say_result(line.substr(begin, line.find('"', begin) - begin));
}
