"""What Alembic runs: the migrations, within the transaction of the connection that it was given."""

from alembic import context

from inferprint.service.migrations import VERSION_TABLE
from inferprint.service.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
