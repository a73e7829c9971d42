/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ulid.h"

#include <stdint.h>
#include <string.h>
#include <sys/random.h>

static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

static GMutex mutex;
static uint64_t last_time; /* of the newest ULID, under the mutex */
static uint8_t random_part[10];

static void
fill_random (void)
{
  /* At most 256 bytes are never cut short; the kernel's pool is ready long before a daemon starts. */
  ssize_t n = 0;
  do
    n = getrandom (random_part, sizeof random_part, 0);
  while (n != (ssize_t)sizeof random_part);
}

/* The random part plus one; FALSE when it went around. */
static gboolean
count_up (void)
{
  for (size_t i = sizeof random_part; i-- > 0;)
    if (++random_part[i] != 0)
      return TRUE;
  return FALSE;
}

static void
advance (void)
{
  uint64_t now = (uint64_t)(g_get_real_time () / 1000);
  if (now > last_time) {
    last_time = now;
    fill_random ();
  } else if (!count_up ()) {
    last_time++;
  }
}

/* 5 bits a letter, from the right; @bytes are a big-endian number. */
static void
encode (char *text, size_t letters, const uint8_t *bytes, size_t length)
{
  for (size_t i = 0; i < letters; i++) {
    unsigned value = 0;
    for (size_t bit = 5; bit-- > 0;) {
      size_t position = i * 5 + bit; /* from the number's low end */
      size_t byte = position / 8;
      unsigned set = byte < length ? (bytes[length - 1 - byte] >> (position % 8)) & 1u : 0;
      value = value << 1 | set;
    }
    text[letters - 1 - i] = alphabet[value];
  }
}

char *
bk_ulid_new (void)
{
  char text[27] = { 0 };
  uint8_t time[6];
  g_mutex_lock (&mutex);
  advance ();
  for (size_t i = 0; i < sizeof time; i++)
    time[i] = (uint8_t)(last_time >> (8 * (sizeof time - 1 - i)));
  encode (text, 10, time, sizeof time);
  encode (text + 10, 16, random_part, sizeof random_part);
  g_mutex_unlock (&mutex);
  return g_strdup (text);
}
