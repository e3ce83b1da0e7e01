# 1. Register. (The demo user cosmo, password space-corgi, is there already.)
curl -s http://127.0.0.1:8001/register -H 'Content-Type: application/json' -d '{"username": "laika", "password": "space-corgi"}'; echo

# 2. Log in, and keep both tokens.
PAIR=$(curl -s http://127.0.0.1:8001/login -H 'Content-Type: application/json' -d '{"username": "cosmo", "password": "space-corgi"}'); echo "$PAIR"
ACCESS=$(echo "$PAIR" | sed 's/.*"access_token":"\([^"]*\)".*/\1/'); REFRESH=$(echo "$PAIR" | sed 's/.*"refresh_token":"\([^"]*\)".*/\1/')

# 3. Call protected routes with the access token. Without one: 401.
curl -s http://127.0.0.1:8002/profile -H "Authorization: Bearer $ACCESS"; echo
curl -s http://127.0.0.1:8002/dashboard -H "Authorization: Bearer $ACCESS"; echo
curl -s http://127.0.0.1:8002/profile; echo

# 4. Wait until the access token has expired, which takes 10 seconds when the stack was started with JWT_ACCESS_TOKEN_EXPIRES=10s.
#    (With the usual 15 minutes, this goes on at once and the token is still good.)
LIFETIME=$(echo "$PAIR" | sed 's/.*"expires_in":\([0-9]*\).*/\1/'); if [ "$LIFETIME" -le 60 ]; then sleep "$LIFETIME"; fi
curl -s http://127.0.0.1:8002/profile -H "Authorization: Bearer $ACCESS"; echo

# 5. Refresh: the refresh token gives a new pair, and nobody logs in again.
PAIR=$(curl -s -X POST http://127.0.0.1:8001/refresh -H "Authorization: Bearer $REFRESH"); echo "$PAIR"
ACCESS=$(echo "$PAIR" | sed 's/.*"access_token":"\([^"]*\)".*/\1/'); REFRESH=$(echo "$PAIR" | sed 's/.*"refresh_token":"\([^"]*\)".*/\1/')
curl -s -X PUT http://127.0.0.1:8002/profile -H "Authorization: Bearer $ACCESS" -H 'Content-Type: application/json' -d '{"display_name": "Cosmo", "bio": "A corgi in space."}'; echo

# 6. Log out: 204, and the session is over. The access token, good for a while yet by itself, is refused by the other service
#    too, and the refresh token buys nothing any more.
curl -s -o /dev/null -w '%{http_code}\n' -X POST http://127.0.0.1:8001/logout -H "Authorization: Bearer $ACCESS"
curl -s http://127.0.0.1:8002/profile -H "Authorization: Bearer $ACCESS"; echo
curl -s -X POST http://127.0.0.1:8001/refresh -H "Authorization: Bearer $REFRESH"; echo
