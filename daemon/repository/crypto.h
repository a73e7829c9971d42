/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * All cryptography of a repository, by OpenSSL's libcrypto. Keys: 32 bytes encrypt (AES-256-GCM), 32 bytes make IDs and
 * MACs (HMAC-SHA-256). Without a key IDs are plain SHA-256. A BkCrypto is immutable; any thread.
 */
#pragma once

#include "bk-error.h"

#include <stdbool.h>
#include <stdint.h>

#define BK_HASH_SIZE 32
#define BK_SEAL_OVERHEAD 28 /* nonce and tag */

typedef struct BkCrypto BkCrypto;

/* NULL, NULL: of a repository without encryption. @keys: 64 bytes. */
BkCrypto *bk_crypto_new (const uint8_t *keys);
void bk_crypto_free (BkCrypto *crypto);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkCrypto, bk_crypto_free)
bool bk_crypto_encrypts (const BkCrypto *crypto);

/* The ID of a chunk: of what it is for, its length, and its content. */
void bk_crypto_id (const BkCrypto *crypto, uint8_t type, const void *data, size_t length, uint8_t id[BK_HASH_SIZE]);

/* @out: @length + BK_SEAL_OVERHEAD bytes: nonce, ciphertext, tag. @aad is bound to it. Only with a key. */
void bk_crypto_seal (const BkCrypto *crypto, const void *aad, size_t aad_length, const void *data, size_t length, uint8_t *out);
/* @out: @length - BK_SEAL_OVERHEAD bytes. FALSE when it is not what was sealed. */
bool bk_crypto_open (const BkCrypto *crypto, const void *aad, size_t aad_length, const uint8_t *sealed, size_t length, uint8_t *out);

/* Under a passphrase (scrypt, N = 2^15, r = 8, p = 1) or the content of a key file (HMAC-SHA-256): the key that wraps keys. */
void bk_crypto_derive (bool is_passphrase, const void *secret, size_t length, const uint8_t salt[32], uint8_t key[32]);
void bk_crypto_random (void *out, size_t length);
void bk_crypto_sha256 (const void *data, size_t length, uint8_t hash[BK_HASH_SIZE]);

/* (transfer full); FALSE for what is not @length bytes in lower case hexadecimal. */
char *bk_hex_encode (const uint8_t *data, size_t length);
bool bk_hex_decode (const char *text, uint8_t *out, size_t length);
