/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "claims.h"

typedef enum { REFUSING, SHARED, EXCLUSIVE } Kind;

struct BkClaims {
  GHashTable *keys; /* key to Kind */
};

BkClaims *
bk_claims_new (void)
{
  BkClaims *claims = g_new0 (BkClaims, 1);
  claims->keys = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  return claims;
}

void
bk_claims_free (BkClaims *claims)
{
  g_hash_table_unref (claims->keys);
  g_free (claims);
}

void
bk_claims_add_refusing (BkClaims *claims, const char *format, ...)
{
  va_list args;
  va_start (args, format);
  g_hash_table_insert (claims->keys, g_strdup_vprintf (format, args), GINT_TO_POINTER (REFUSING));
  va_end (args);
}

void
bk_claims_add_waiting (BkClaims *claims, bool exclusive, const char *format, ...)
{
  va_list args;
  va_start (args, format);
  g_hash_table_insert (claims->keys, g_strdup_vprintf (format, args), GINT_TO_POINTER (exclusive ? EXCLUSIVE : SHARED));
  va_end (args);
}

const char *
bk_claims_refused (const BkClaims *a, const BkClaims *b)
{
  GHashTableIter iter;
  gpointer key, kind, other;
  g_hash_table_iter_init (&iter, a->keys);
  while (g_hash_table_iter_next (&iter, &key, &kind)) {
    if (!g_hash_table_lookup_extended (b->keys, key, NULL, &other))
      continue;
    bool refusing = GPOINTER_TO_INT (kind) == REFUSING || GPOINTER_TO_INT (other) == REFUSING;
    if (refusing && GPOINTER_TO_INT (kind) != SHARED && GPOINTER_TO_INT (other) != SHARED)
      return key;
  }
  return NULL;
}

bool
bk_claims_must_wait (const BkClaims *a, const BkClaims *b)
{
  GHashTableIter iter;
  gpointer key, kind, other;
  g_hash_table_iter_init (&iter, a->keys);
  while (g_hash_table_iter_next (&iter, &key, &kind)) {
    if (!g_hash_table_lookup_extended (b->keys, key, NULL, &other))
      continue;
    if (GPOINTER_TO_INT (kind) == EXCLUSIVE || GPOINTER_TO_INT (other) == EXCLUSIVE)
      return true;
  }
  return false;
}
