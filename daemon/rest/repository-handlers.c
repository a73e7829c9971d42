/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "handlers.h"
#include "request-check.h"

#define MIN_CHUNK (64 * 1024)
#define MAX_CHUNK (4 * 1024 * 1024)
#define MAX_COMPRESSION 19 /* zstd's last level that takes no extra memory */

void
bk_repositories_list (BkExchange *exchange)
{
  g_autoptr (GPtrArray) repositories = bk_repository_registry_list (bk_exchange_services (exchange)->repositories);
  bk_exchange_reply_list (exchange, &bk_repository_info_struct, repositories, NULL);
}

/* Answers with the repository @name as it is now. */
static void
reply_repository (BkExchange *exchange, unsigned status, const char *name)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkRepositoryInfo) repository =
      bk_repository_registry_info (bk_exchange_services (exchange)->repositories, name, &error);
  if (repository)
    bk_exchange_reply_struct (exchange, status, &bk_repository_info_struct, repository);
  else
    bk_exchange_fail (exchange, error);
}

static gboolean
refuse (GError **error, const char *member, const char *why)
{
  g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "/%s: %s", member, why);
  return FALSE;
}

/* A member that has been set. */
static const char *
first_dedup_member (const BkRepositoryInfo *request)
{
  bool classes = request->class_chunk_sizes && request->class_chunk_sizes->len > 0;
  return request->chunk_size        ? "chunk_size"
         : classes                  ? "class_chunk_sizes"
         : request->compression     ? "compression"
         : request->passphrase_file ? "passphrase_file"
         : request->key_file        ? "key_file"
                                    : NULL;
}

static bool
is_chunk_size (uint64_t size)
{
  return size >= MIN_CHUNK && size <= MAX_CHUNK && (size & (size - 1)) == 0;
}

static gboolean
check_classes (const GPtrArray *sizes, GError **error)
{
  g_autoptr (GHashTable) seen = g_hash_table_new (g_str_hash, g_str_equal);
  for (unsigned i = 0; sizes && i < sizes->len; i++) {
    const BkClassChunkSize *size = sizes->pdata[i];
    g_autofree char *member = g_strdup_printf ("class_chunk_sizes/%u", i);
    if (!bk_name_is_valid (size->class_name))
      return refuse (error, member, "the class must be a word of letters, digits, '.', '_' and '-'");
    if (!is_chunk_size (size->chunk_size))
      return refuse (error, member, "the chunk size must be a power of two from 65536 (64K) to 4194304 (4M)");
    if (!g_hash_table_add (seen, size->class_name))
      return refuse (error, member, "the class has a chunk size already");
  }
  return TRUE;
}

/* What can be said without the folder; the registry knows the rest. */
static gboolean
check_request (const BkRepositoryInfo *request, GError **error)
{
  const char *member = first_dedup_member (request);
  if (member && g_strcmp0 (request->type, "qcow2") == 0)
    return refuse (error, member, "only a repository of type dedup has it");
  if (request->chunk_size && !is_chunk_size (request->chunk_size))
    return refuse (error, "chunk_size", "must be a power of two from 65536 (64K) to 4194304 (4M)");
  if (!check_classes (request->class_chunk_sizes, error))
    return FALSE;
  if (request->compression > MAX_COMPRESSION)
    return refuse (error, "compression", "must be from 1 (fast) to 19 (small)");
  if (request->passphrase_file && request->key_file)
    return refuse (error, "key_file", "must not stand beside passphrase_file: a repository has one secret");
  return bk_request_check_path ("passphrase_file", request->passphrase_file, error) &&
         bk_request_check_path ("key_file", request->key_file, error);
}

void
bk_repositories_add (BkExchange *exchange)
{
  static const char *const writable[] = { "name",        "type",            "path",     "chunk_size", "class_chunk_sizes",
                                          "compression", "passphrase_file", "key_file", NULL };
  g_autoptr (GError) error = NULL;
  g_autoptr (BkRepositoryInfo) request = bk_exchange_body_part (exchange, &bk_repository_info_struct, writable);
  if (request == NULL)
    return;
  if (!check_request (request, &error) ||
      !bk_repository_registry_add (bk_exchange_services (exchange)->repositories, request, &error)) {
    bk_exchange_fail (exchange, error);
    return;
  }
  g_autofree char *location = g_strdup_printf ("/v1/repositories/%s", request->name);
  bk_exchange_add_header (exchange, "Location", location);
  reply_repository (exchange, SOUP_STATUS_CREATED, request->name);
}

static void
on_examined (GObject *source G_GNUC_UNUSED, GAsyncResult *result, gpointer user_data)
{
  g_autoptr (BkExchange) exchange = user_data;
  g_autoptr (GError) error = NULL;
  g_autoptr (BkRepositoryInfo) repository =
      bk_repository_registry_examine_finish (bk_exchange_services (exchange)->repositories, result, &error);
  if (repository)
    bk_exchange_reply_struct (exchange, SOUP_STATUS_OK, &bk_repository_info_struct, repository);
  else
    bk_exchange_fail (exchange, error);
}

/* What its backups share takes a walk over all of it. */
void
bk_repository_show (BkExchange *exchange)
{
  bk_repository_registry_examine_async (bk_exchange_services (exchange)->repositories, bk_exchange_word (exchange, 0), on_examined,
                                        bk_exchange_ref (exchange));
}

void
bk_repository_remove (BkExchange *exchange)
{
  g_autoptr (GError) error = NULL;
  if (bk_queue_remove_repository (bk_exchange_services (exchange)->queue, bk_exchange_word (exchange, 0), &error))
    bk_exchange_reply (exchange, SOUP_STATUS_NO_CONTENT, NULL);
  else
    bk_exchange_fail (exchange, error);
}
