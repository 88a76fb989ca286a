#!/bin/sh
# certificate.sh NAME: a key and a certificate for NAME in the folder `certificates`, signed by an authority that is made first.
set -eu
cd "$(dirname "$0")"
mkdir -p certificates
cd certificates
key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1"; }
if [ ! -e ca.crt ]; then
    key ca.key
    openssl req -x509 -new -key ca.key -subj "/CN=Example authority" -days 30 -out ca.crt
fi
key "$1.new.key"
openssl req -new -key "$1.new.key" -subj "/CN=$1.example" -out "$1.csr"
echo "subjectAltName = DNS:$1.example" > "$1.ext"
openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -extfile "$1.ext" -out "$1.new.crt" 2> "$1.log"
mv "$1.new.key" "$1.key"
mv "$1.new.crt" "$1.crt"
