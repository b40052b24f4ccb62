-- Ready says it all, but for why it is not: Stalled needs a person, Suspended is wanted, and everything else passes.
local health = { status = "Progressing", message = "Waiting for the operator's first look" }
if obj.status == nil or obj.status.conditions == nil then
  return health
end
if obj.status.observedGeneration ~= obj.metadata.generation then
  health.message = "Waiting for the operator to look at the present spec"
  return health
end
local by_type = {}
for _, condition in ipairs(obj.status.conditions) do
  by_type[condition.type] = condition
end
local ready = by_type["Ready"]
if ready == nil then
  return health
end
health.message = ready.reason
if ready.message ~= nil and ready.message ~= "" then
  health.message = ready.reason .. ": " .. ready.message
end
if by_type["Stalled"] ~= nil and by_type["Stalled"].status == "True" then
  health.status = "Degraded"
elseif ready.reason == "Suspended" then
  health.status = "Suspended"
elseif ready.status == "True" and (by_type["Reconciling"] == nil or by_type["Reconciling"].status ~= "True") then
  health.status = "Healthy"
end
return health
