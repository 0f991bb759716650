#!/bin/bash
# Makes data.tar.gz, a data folder with something of everything, and answers.txt, what the
# program that has written it answers to requests.txt. Usage: make.sh JETPOST
#
# The receivers are "jetpost receiver" of the same program. Needs curl and tar.
set -eu -o pipefail
jetpost=$1
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$work"' EXIT
export HOME=$work XDG_STATE_HOME=$work/state
http=127.0.0.1:18080
"$jetpost" receiver --addr 127.0.0.1:18081 --quiet --no-verify >/dev/null &
"$jetpost" receiver --addr 127.0.0.1:18082 --quiet --no-verify --status 500 >/dev/null &
"$jetpost" serve --data "$work/data" --http "$http" --allow-target 127.0.0.0/8 >"$work/log" 2>&1 &
server=$!
until curl -fs "http://$http/readyz" >/dev/null; do sleep 0.2; done
token=$(cat "$work/data/admin.token")

api() { # METHOD PATH [BODY]
	curl -sS --fail-with-body -X "$1" -H "Authorization: Bearer $token" -H 'Content-Type: application/json' ${3+-d "$3"} "http://$http$2" >"$work/answer" ||
		{ echo "$1 $2 failed: $(cat "$work/answer")" >&2; exit 1; }
}
subscription() { # ID TYPES PORT MORE
	api POST /v1/subscriptions '{"id":"'"$1"'","types":["'"$2"'"],"endpoint":{"url":"http://127.0.0.1:'"$3"'/'"$1"'?key=hidden"'"${5-}"'}'"${4-}"'}'
}
publish() { # TYPE ID DATA
	curl -fsS -X POST -H "Authorization: Bearer $token" -H 'Content-Type: application/cloudevents+json' \
		-d '{"specversion":"1.0","type":"'"$1"'","source":"/shops/1","subject":"orders/7","id":"'"$2"'","time":"2026-11-30T06:00:00Z","data":'"$3"'}' "http://$http/v1/events" >/dev/null
}

api PUT /v1/domains/shop '{"files":{"domain.json":{"name":"shop","description":"A shop"},"paid.schema.json":{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","required":["amount"],"properties":{"amount":{"type":"number"},"note":{"type":"string"}}},"paid.example.json":{"amount":12345678901234567890.10},"lost.schema.json":{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object"},"lost.example.json":{}}}'
api PUT /v1/repositories/libs '{"class":"local","package_type":"maven"}'
api POST /v1/tokens '{"name":"reader","role":"auditor"}'
subscription delivered 'shop.*' 18081 ',"description":"gets all","labels":{"team":"one"}' ',"headers":{"X-Own":"1"},"secret_headers":{"Authorization":"Bearer hidden"}'
subscription paused shop.paid 18081 ',"filters":[{"exact":{"subject":"orders/7"}},{"any":[{"prefix":{"data.note":"a"}},{"sql":"source LIKE '"'/shops/%'"'"}]}]'
subscription retried shop.paid 18082 ',"delivery":{"retry":{"schedule":["0s","10h"]}}'
subscription dead shop.paid 18082 ',"delivery":{"retry":{"schedule":["0s"]}}'
subscription ordered shop.paid 18081 ',"delivery":{"ordered":true,"max_in_flight":1}'
api POST /v1/subscriptions/paused/pause
api POST /v1/subscriptions/delivered/rotate-secret '{}'
api PATCH /v1/subscriptions/ordered '{"description":"changed"}'
curl -fsS -u "admin:$token" -H 'Content-Type: application/json' -d '{"key":"jf","description":"of JFrog","enabled":true,"event_filter":{"domain":"artifact","event_types":["deployed"],"criteria":{"anyLocal":true,"repoKeys":["libs"],"includePatterns":["org/**"]}},"handlers":[{"handler_type":"webhook","url":"http://127.0.0.1:18081/jf","secret":"s3cr3t-s3cr3t","use_secret_for_signing":true}]}' "http://$http/event/api/v1/subscriptions" >/dev/null
curl -fsS -H "Authorization: Bearer $token" -H 'Content-Type: application/json' -d '{"targetUri":"http://127.0.0.1:18081/ssm","events":["PUSH"],"pushOption":{"branchFilter":"main"},"sensitiveQueryString":"auth=hidden"}' "http://$http/v1/projects/p/locations/l/repositories/r/hooks?hook_id=ssm" >/dev/null
for n in 1 2 3; do publish shop.paid "paid-$n" '{"amount": '"$n"'.50, "note":"a"}'; done
publish shop.lost lost-1 '{}'

count() { curl -fsS -H "Authorization: Bearer $token" "http://$http/v1/subscriptions/$1/attempts" | grep -o '"delivery_id"' | wc -l; }
until [ "$(count delivered)" = 4 ] && [ "$(count retried)" = 3 ] && [ "$(count dead)" = 3 ] && [ "$(count ordered)" = 3 ]; do sleep 0.2; done
sleep 3 # what is kept of routing, breakers and the inventory is written every second or two
kill -TERM $server
wait $server
rm -r "$work/data/nats/jetstream/\$G/streams/RESERVE" # random, and made anew
tar -C "$work" -czf "$here/data.tar.gz" data

# What the same program answers that is started with it.
mkdir "$work/again"
tar -C "$work/again" -xzf "$here/data.tar.gz"
"$jetpost" serve --data "$work/again/data" --http "$http" --allow-target 127.0.0.0/8 >"$work/log" 2>&1 &
server=$!
until curl -fs "http://$http/readyz" >/dev/null; do sleep 0.2; done
while read -r how what; do
	printf '### %s %s\n' "$how" "$what"
	case $how in
	GET) curl -sS -H "Authorization: Bearer $token" "http://$http$what" ;;
	# shellcheck disable=SC2086 # words
	RUN) JETPOST_SERVER=http://$http JETPOST_TOKEN=$token "$jetpost" $what </dev/null ;;
	esac
done <"$here/requests.txt" >"$here/answers.txt"
kill -TERM $server
wait $server
ls -l "$here"
