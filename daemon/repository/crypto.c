/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "crypto.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/rand.h>
#include <string.h>

#define NONCE_SIZE 12
#define TAG_SIZE 16

struct BkCrypto {
  bool encrypts;
  uint8_t cipher_key[32], id_key[32];
  EVP_MD *sha256;
  EVP_CIPHER *gcm;
};

/* One context for each thread: making one for each chunk costs more than hashing a small one. */
static GPrivate digest_context = G_PRIVATE_INIT ((GDestroyNotify)EVP_MD_CTX_free);
static GPrivate cipher_context = G_PRIVATE_INIT ((GDestroyNotify)EVP_CIPHER_CTX_free);

static EVP_MD_CTX *
get_digest_context (void)
{
  EVP_MD_CTX *context = g_private_get (&digest_context);
  if (context == NULL)
    g_private_set (&digest_context, context = EVP_MD_CTX_new ());
  return context;
}

static EVP_CIPHER_CTX *
get_cipher_context (void)
{
  EVP_CIPHER_CTX *context = g_private_get (&cipher_context);
  if (context == NULL)
    g_private_set (&cipher_context, context = EVP_CIPHER_CTX_new ());
  return context;
}

/* libcrypto fails at these for want of memory alone; a wrong ID must never come of that. */
static void
must (int ok)
{
  if (ok != 1)
    g_error ("libcrypto failed");
}

BkCrypto *
bk_crypto_new (const uint8_t *keys)
{
  BkCrypto *crypto = g_new0 (BkCrypto, 1);
  crypto->sha256 = EVP_MD_fetch (NULL, "SHA256", NULL);
  crypto->gcm = EVP_CIPHER_fetch (NULL, "AES-256-GCM", NULL);
  must (crypto->sha256 && crypto->gcm);
  if (keys) {
    crypto->encrypts = true;
    memcpy (crypto->cipher_key, keys, 32);
    memcpy (crypto->id_key, keys + 32, 32);
  }
  return crypto;
}

void
bk_crypto_free (BkCrypto *crypto)
{
  EVP_MD_free (crypto->sha256);
  EVP_CIPHER_free (crypto->gcm);
  OPENSSL_cleanse (crypto, sizeof *crypto);
  g_free (crypto);
}

bool
bk_crypto_encrypts (const BkCrypto *crypto)
{
  return crypto->encrypts;
}

/* HMAC by hand over one digest context: the pads of the key, 64 bytes a block. */
static void
hash_begin (const BkCrypto *crypto, EVP_MD_CTX *context, uint8_t pad)
{
  uint8_t block[64];
  must (EVP_DigestInit_ex2 (context, crypto->sha256, NULL));
  for (size_t i = 0; i < sizeof block; i++)
    block[i] = pad ^ (i < 32 ? crypto->id_key[i] : 0);
  if (crypto->encrypts)
    must (EVP_DigestUpdate (context, block, sizeof block));
}

void
bk_crypto_id (const BkCrypto *crypto, uint8_t type, const void *data, size_t length, uint8_t id[BK_HASH_SIZE])
{
  EVP_MD_CTX *context = get_digest_context ();
  hash_begin (crypto, context, 0x36);
  must (EVP_DigestUpdate (context, data, length));
  must (EVP_DigestUpdate (context, &type, 1));
  must (EVP_DigestFinal_ex (context, id, NULL));
  if (!crypto->encrypts)
    return;
  hash_begin (crypto, context, 0x5c);
  must (EVP_DigestUpdate (context, id, BK_HASH_SIZE));
  must (EVP_DigestFinal_ex (context, id, NULL));
}

void
bk_crypto_seal (const BkCrypto *crypto, const void *aad, size_t aad_length, const void *data, size_t length, uint8_t *out)
{
  EVP_CIPHER_CTX *context = get_cipher_context ();
  int n = 0;
  bk_crypto_random (out, NONCE_SIZE);
  must (EVP_EncryptInit_ex2 (context, crypto->gcm, crypto->cipher_key, out, NULL));
  must (EVP_EncryptUpdate (context, NULL, &n, aad, (int)aad_length));
  must (EVP_EncryptUpdate (context, out + NONCE_SIZE, &n, data, (int)length));
  must (EVP_EncryptFinal_ex (context, out + NONCE_SIZE + length, &n));
  must (EVP_CIPHER_CTX_ctrl (context, EVP_CTRL_GCM_GET_TAG, TAG_SIZE, out + NONCE_SIZE + length));
}

bool
bk_crypto_open (const BkCrypto *crypto, const void *aad, size_t aad_length, const uint8_t *sealed, size_t length, uint8_t *out)
{
  EVP_CIPHER_CTX *context = get_cipher_context ();
  int n = 0;
  if (length < BK_SEAL_OVERHEAD)
    return false;
  size_t plain = length - BK_SEAL_OVERHEAD;
  must (EVP_DecryptInit_ex2 (context, crypto->gcm, crypto->cipher_key, sealed, NULL));
  must (EVP_DecryptUpdate (context, NULL, &n, aad, (int)aad_length));
  must (EVP_DecryptUpdate (context, out, &n, sealed + NONCE_SIZE, (int)plain));
  must (EVP_CIPHER_CTX_ctrl (context, EVP_CTRL_GCM_SET_TAG, TAG_SIZE, (void *)(sealed + NONCE_SIZE + plain)));
  return EVP_DecryptFinal_ex (context, out + plain, &n) == 1;
}

void
bk_crypto_derive (bool is_passphrase, const void *secret, size_t length, const uint8_t salt[32], uint8_t key[32])
{
  unsigned size = 32;
  if (is_passphrase)
    must (EVP_PBE_scrypt (secret, length, salt, 32, 1u << 15, 8, 1, 64u << 20, key, 32));
  else
    must (HMAC (EVP_sha256 (), salt, 32, secret, length, key, &size) != NULL);
}

void
bk_crypto_random (void *out, size_t length)
{
  must (RAND_bytes (out, (int)length));
}

void
bk_crypto_sha256 (const void *data, size_t length, uint8_t hash[BK_HASH_SIZE])
{
  must (EVP_Digest (data, length, hash, NULL, EVP_sha256 (), NULL));
}

char *
bk_hex_encode (const uint8_t *data, size_t length)
{
  GString *text = g_string_sized_new (2 * length);
  for (size_t i = 0; i < length; i++)
    g_string_append_printf (text, "%02x", data[i]);
  return g_string_free (text, FALSE);
}

bool
bk_hex_decode (const char *text, uint8_t *out, size_t length)
{
  if (strlen (text) != 2 * length || strspn (text, "0123456789abcdef") != 2 * length)
    return false;
  for (size_t i = 0; i < length; i++)
    out[i] = (uint8_t)(g_ascii_xdigit_value (text[2 * i]) << 4 | g_ascii_xdigit_value (text[2 * i + 1]));
  return true;
}
