// Lines of a worker, and requests: whatever comes, it is one of the replies, and a result is
// judged.
#include <isosweep/cell.h>
#include <isosweep/figures.h>
#include <isosweep/protocol.h>
#include <isosweep/quality.h>

#include <stdexcept>

#include "fuzz.h"

using namespace isosweep;
using fuzz::expect;

namespace {

void judge_result(const protocol::Result& result) {
    static const Cell cell;
    static const boost::json::object asked = to_json(cell);
    const Outcome outcome = protocol::check_result(result.line, asked);
    expect(is_reportable(outcome.status), "a result has a status that a worker may report");
    expect((outcome.status == Status::ok) == !outcome.measurement.empty(),
           "a measurement is there where the status is ok");
    expect(outcome.message.find('\n') == std::string::npos, "a message is one line");
    const Outcome again = outcome_from_json(to_json(outcome));
    expect(to_json(again) == to_json(outcome), "an outcome reads back from the journal");
    static_cast<void>(figures(cell, outcome.measurement, std::nullopt));
    static_cast<void>(protocol::check_probe_result(result.line));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view line = fuzz::text_of(data, size);
    const protocol::Reply reply = protocol::parse_reply(line, "abc");
    if (const auto* result = std::get_if<protocol::Result>(&reply)) judge_result(*result);
    try {
        const protocol::Request request = protocol::parse_request(line);
        const protocol::Request again = protocol::parse_request(protocol::request_line(request));
        // Boost.JSON may read the last digit of a double differently: integers and texts are exact.
        expect(again.nonce == request.nonce && again.cell.size() == request.cell.size(),
               "a request reads back");
        for (const auto& member : request.cell)
            expect(member.value().is_double() || member.value().is_structured() ||
                       again.cell.at(member.key()) == member.value(),
                   "and so does each field");
        const Cell cell = cell_from_json(request.cell);
        expect(cell_from_json(to_json(cell)) == cell, "a cell reads back");
        expect(key_of(cell) == key_of(cell_from_json(to_json(cell))), "with the same key");
    } catch (const BadValue&) {
        return 0;  // refused with a reason, as it should be
    } catch (const std::runtime_error&) {
        return 0;  // so is a line that is no request at all
    }
    return 0;
}
