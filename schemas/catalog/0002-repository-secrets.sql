-- SPDX-License-Identifier: LGPL-2.1-or-later
--
-- Repositories of type dedup may be encrypted. The catalog knows where the secret is, never the secret. Before them there
-- was one type only.
ALTER TABLE repository ADD COLUMN passphrase_file TEXT;
ALTER TABLE repository ADD COLUMN key_file TEXT;
UPDATE repository SET type = 'qcow2' WHERE type IS NULL;
