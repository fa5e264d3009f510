-- wrk's script: POST the file that $BODY names; at the end print what was answered, as JSON.
wrk.method = "POST"
wrk.body = io.open(os.getenv("BODY"), "rb"):read("*a")
for name, value in os.getenv("HEADERS"):gmatch("([^:\n]+): ([^\n]+)") do
    wrk.headers[name] = value
end

function done(summary, latency, requests)
    local e = summary.errors
    io.write(string.format('\n{"answered": %d, "seconds": %f, "errors": %d}\n', summary.requests,
        summary.duration / 1e6, e.status + e.connect + e.read + e.write + e.timeout))
end
