"""Operations with native kernels, registered with torch; importing a module registers its ops."""
