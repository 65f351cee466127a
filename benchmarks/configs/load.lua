-- What wrk sends: method, path, size of the request body in bytes, "keep" or "close"; or, in the fifth place, the whole
-- request in hexadecimal.
function init(args)
  if args[5] then
    local raw = args[5]:gsub("..", function(digits) return string.char(tonumber(digits, 16)) end)
    request = function() return raw end
    return
  end
  wrk.method, wrk.path = args[1], args[2]
  if tonumber(args[3]) > 0 then wrk.body = string.rep("x", tonumber(args[3])) end
  if args[4] == "close" then wrk.headers["Connection"] = "close" end
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format('{"requests": %d, "bytes": %d, "connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}\n',
    summary.requests, summary.bytes, errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
